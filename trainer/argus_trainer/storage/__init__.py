"""Bytes of objects under a prefix: the only room that imports fsspec and s3fs.

It knows no plan, no claim and no chunk; it retries, classifies errors and keeps the
promise of `put_new`: one winner, whole or not at all.
"""
