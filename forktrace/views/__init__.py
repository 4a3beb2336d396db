"""Model to what people look at; never imports bcc."""
