"""Blobs on their way from a registry: what of them is kept on disk for a next attempt, and fetching in several ranges.

`kept` owns the files, `fetch` reads one blob in order, `chunked` reads a zstd:chunked layer by parts. Used by the image
worker; the daemon only asks `kept` how much there is and has it cleaned.
"""
