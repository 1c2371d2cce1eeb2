"""The page in the browser: ``mmclarity-restore --serve``.

:mod:`.jobs` keeps the uploaded files and restores them one after the other, :mod:`.previews` makes
what the page shows, :mod:`.server` speaks HTTP. Only the last needs ``mmclarity[app]``.
"""
