"""Readers of image files: published data sets, folders and arrays of your own."""
