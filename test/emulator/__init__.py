"""An emulator of AWS Secrets Manager for tests; README.md has the contract."""
