"""What operators see: metrics and traces of one platform. Nothing here decides anything."""
