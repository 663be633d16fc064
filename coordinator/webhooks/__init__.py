"""Webhooks: tells a client's server that its task has ended (Standard Webhooks). This room alone calls strangers."""
