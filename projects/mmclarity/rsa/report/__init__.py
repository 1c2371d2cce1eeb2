"""Results as files: tables, figures, archives."""
