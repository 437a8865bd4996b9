"""The operations, one class each, in files by kind; `nasflow.ir` has them all under their own names."""
