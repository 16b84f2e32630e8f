"""Python code of the API, generated from proto/vmoc/v1 by ``make proto``; only this file is written by hand."""
