"""The embedded data: scenes, micrographs and surfaces that are drawn, so that all is known of them.

* :mod:`.murky`: road-like scenes whose degraded objects only their neighbours can name.
* :mod:`.phantom`: particles on a dark ground, as an expensive and a cheap microscope see them.
* :mod:`.surfaces`: crops of textures for a small classification data set.
"""
