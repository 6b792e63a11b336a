"""Diffusion pipelines: what they are made of, and the GPU memory that they take while they make an image.

Owns everything that language models have no part in. Nothing here is imported before a document asks for a pipeline.
"""
