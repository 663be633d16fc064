"""Runs a request on the backend: anything that speaks the OpenAI HTTP API, or the embedded llama.cpp.

BackendFault           raised for every way in which there is no answer; becomes the Failure of a Report
"""
