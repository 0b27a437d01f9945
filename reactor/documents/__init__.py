"""What lies in Mongo, and the chain events it is made from: models, statuses, keys, classification. Imports nothing of ours."""
