"""Show what was found: tables, pictures of graphs, plots and one HTML page, without any plotting library."""
