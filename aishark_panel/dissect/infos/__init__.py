"""Info texts, one module per family of protocols; aishark_panel.dissect.info says which protocol has which."""
