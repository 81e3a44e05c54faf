"""One module per page; Streamlit runs it as a script."""
