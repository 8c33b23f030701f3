"""Tables as papers have them, with published numbers beside."""
