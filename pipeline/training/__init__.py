"""One's own pictures become a network whose dreams are made of them."""
