"""Every body that comes in and goes out, as models; what the API description says of them stands here."""
