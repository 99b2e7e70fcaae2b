"""What is measured, one module per subject. Each has `async def measure(bench)`, which adds tables to its results."""
