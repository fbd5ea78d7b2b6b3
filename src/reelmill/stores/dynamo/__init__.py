"""The store in one DynamoDB table, by conditional writes of single items. `store.py` opens it."""
