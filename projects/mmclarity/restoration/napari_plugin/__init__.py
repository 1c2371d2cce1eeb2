"""Restoration inside napari: the manifest ``napari.yaml``, a widget, and a sample image.

napari finds the manifest by the entry point ``napari.manifest``. :mod:`.planes` does the work and
needs neither napari nor Qt; :mod:`.widget` needs both (``mmclarity[napari]``).
"""
