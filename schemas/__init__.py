"""What crosses a boundary: documents on the wire, records in the store; imports nothing of ours."""
