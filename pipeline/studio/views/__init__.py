"""The views of the studio's page, one for each tab."""
