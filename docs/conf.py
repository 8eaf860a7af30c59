"""How Sphinx makes the site of these pages: `make site`.

The source folder is the project's own, so that a link between README.md, docs/ and the rest means the same in the
repository and on the site. Nothing on the site comes from another host.
"""

import aishark_panel

project = "aishark_panel"
author = "the authors of aishark_panel"
version = release = aishark_panel.__version__
html_title = project
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**.md"]
exclude_patterns = [".*", "aishark_panel", "benchmarks", "notebooks", "packaging", "site", "tests"]
nitpicky = True

myst_heading_anchors = 4
highlight_language = "none"
smartquotes = False  # quotes and dashes are often code

html_theme = "furo"
html_static_path = ["theme"]
html_css_files = ["site.css"]
html_extra_path = ["theme/index.html"]
html_logo = html_favicon = "theme/logo.svg"
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1a5fd0", "color-brand-content": "#1a5fd0"},
    "dark_css_variables": {"color-brand-primary": "#78aeff", "color-brand-content": "#78aeff"},
}
