"""A page and figures that show what runs came to: runs -> content (`gather`) -> report.html (`page`), `figures`."""
