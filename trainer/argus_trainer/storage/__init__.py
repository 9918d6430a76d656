"""Bytes of objects under a prefix: the only room that imports fsspec, s3fs and obstore.

It knows no plan, no claim and no chunk; it retries, classifies errors and keeps the
promise of `put_new`: one winner, whole or not at all.
"""
