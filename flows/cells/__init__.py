"""The library of cells: Liberty files read, written and kept, functions and tables in them."""
