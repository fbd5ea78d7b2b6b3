"""The HTTP API: FastAPI routers, one file for each noun."""
