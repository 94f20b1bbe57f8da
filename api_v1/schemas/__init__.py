"""The marshmallow schemas of requests and responses, one module per subject, named as in `routes`. No queries here."""
