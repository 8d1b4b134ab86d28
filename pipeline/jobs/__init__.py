"""One render: from its job to a verified file and its record."""
