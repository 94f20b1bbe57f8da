"""What goes in and out: marshmallow schemas, one module per tag of the contract. No queries here."""
