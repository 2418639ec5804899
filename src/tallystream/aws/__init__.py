"""The AWS plane: Kinesis, Lambda, DynamoDB and CloudWatch, and what makes a stack of them. boto3 is imported in here alone."""
