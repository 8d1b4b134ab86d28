"""The studio: a page on this machine that looks at a folder of sources, stills and renders."""
