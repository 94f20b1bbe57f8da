"""Stands in for the operator's configuration file: a demo below the current directory.

`DATABASE_URI` and `SAMPLE_REPOSITORY` may come from the environment; nothing is created here.
"""

import os
from pathlib import Path

_demo = Path.cwd() / "demo"

DATABASE_URI = os.environ.get("DATABASE_URI") or f"sqlite:///{_demo / 'platform.sqlite'}"
SAMPLE_REPOSITORY = os.environ.get("SAMPLE_REPOSITORY") or str(_demo / "repository")
INSTALL_FOLDER = str(Path(__file__).resolve().parent)

APPLICATION_ROOT = "/"
SERVER_NAME = None
SESSION_COOKIE_PATH = "/"
CSRF_ENABLED = True
MAX_CONTENT_LENGTH = 512 * 1024 * 1024
MIN_PWD_LEN = 10
MAX_PWD_LEN = 500
FTP_PORT = 21

GITHUB_OWNER = "CCExtractor"
GITHUB_REPOSITORY = "ccextractor"
GITHUB_TOKEN = ""
GITHUB_CI_KEY = ""
GITHUB_CLIENT_ID = ""
GITHUB_CLIENT_KEY = ""
HMAC_KEY = ""
EMAIL_DOMAIN = ""
EMAIL_API_KEY = ""

GCS_BUCKET_NAME = ""
GCS_SIGNED_URL_EXPIRY_LIMIT = 720
SERVICE_ACCOUNT_FILE = ""
ZONE = ""
PROJECT_NAME = ""
MACHINE_TYPE = ""
WINDOWS_INSTANCE_PROJECT_NAME = ""
WINDOWS_INSTANCE_FAMILY_NAME = ""
LINUX_INSTANCE_PROJECT_NAME = ""
LINUX_INSTANCE_FAMILY_NAME = ""
GCP_INSTANCE_MAX_RUNTIME = 120
SCOPES: list[str] = []
