"""Reports of finished runs: tables, charts and the HTML page."""
