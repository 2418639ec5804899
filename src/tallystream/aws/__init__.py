"""
The AWS plane: Kinesis, Lambda, DynamoDB and CloudWatch, and what makes a stack of them. boto3 is imported in here alone.

What the functions do: handlers (the composition root of count and publish) and pages (that of the web application); function
(the definition and settings that they find), runtime; count with records, publish with metric.

What is stored: rows (keys and items), table (operations on them), dynamodb with client (on AWS); reading, and store with watch,
by which the web application reads; site is what that is handed, and opened where `tally up` serves it.

The stack: template with template_alarms, template_dashboard, template_function, template_pages and cloudformation; package;
deploy with refusals, deployed (by what a stack counts); cost with prices.

What commands do besides: backfill with producer; verify with recount, retained and differences.
"""
