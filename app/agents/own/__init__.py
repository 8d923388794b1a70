"""The user's own tools: Python files whose code runs in processes of their own. Imported only with
`TOOLS_DIR`.
"""
