"""HTTP on our own sockets: uvicorn's protocol with bounds, and the listeners that it serves."""
