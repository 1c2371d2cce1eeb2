from .quick_rpn_head import QuickRPNHead

__all__ = ['QuickRPNHead']
