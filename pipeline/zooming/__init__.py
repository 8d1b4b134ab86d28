"""The endless zoom: camera, borders, palette, and arrival at a goal."""
