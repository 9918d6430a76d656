"""Names that appear on the wire, each once, with what it means.

Labels and annotations live on children only: the operator never writes metadata of a
resource that a user or a Git controller owns.
"""

CONTRACT_VERSION = 1
"""Version of everything written to a bucket or passed to a trainer."""

GROUP = "argus.tachyon.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ArgusTrainingJob"
PLURAL = "argustrainingjobs"
FIELD_MANAGER = "argus-operator"

MAX_RUN_NAME_LENGTH = 45
"""Longest name of a run: child names append a hash and a generation to it."""

LABEL_RUN_NAME = f"{GROUP}/run"
"""On Jobs and pods: name of the ArgusTrainingJob they belong to."""
LABEL_RUN_KEY = f"{GROUP}/run-key"
"""On Jobs and pods: the run key (identity of the training)."""
LABEL_COMPONENT = f"{GROUP}/component"
"""On Jobs and pods: what they do; the operator's watches select on it."""
COMPONENT_TRAINER = "trainer"
COMPONENT_PLANNER = "planner"
"""A trainer image that plans on a CPU and trains nothing."""

KUEUE_GROUP = "kueue.x-k8s.io"
KUEUE_JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"
"""On Kueue's Workloads: uid of the Job that each stands for."""
SCOPE_LEASE = "argus-scope"
"""Lease in a namespace: which installation of the operator serves it."""
ANNOTATION_REFUSED_BY = f"{GROUP}/refused-by"
"""On such a Lease: the installation that serves this namespace already, and its Lease."""

KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
KUEUE_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
COPIED_LABELS = (KUEUE_QUEUE_LABEL, KUEUE_PRIORITY_LABEL)
"""Labels of the resource that are copied to its Job; no other label is."""
OWN_DOMAINS = (f"{GROUP}/", "kueue.x-k8s.io/")
"""Labels and annotations that begin so are no user's to put on a pod."""
OWN_VOLUME_PREFIX = "argus-"
"""Volumes whose name begins so are made by the operator."""

TRAINER_CONTAINER = "trainer"
PLAN_ONLY = "--plan-only"
"""Argument of a planner's container. An image that does not know it ends with exit 64."""
PROGRESS_PORT = 8080
"""Port of the trainer's HTTP server for /progress."""
PROGRESS_PATH = "/progress"
MAX_REPORT_BYTES = 64 * 1024
"""Largest answer that the operator reads from /progress."""
MAX_TERMINATION_BYTES = 4096
"""Largest termination message that Kubernetes keeps."""
TERMINATION_PATH = "/dev/termination-log"
CREDENTIALS_DIRECTORY = "/var/run/argus/storage"
"""Where the storage Secret is mounted in the trainer: one file per key."""
CA_BUNDLE_DIRECTORY = "/var/run/argus/ca"
"""Where the certificates' ConfigMap is mounted in the trainer."""
CA_BUNDLE_FILE = "ca.crt"
"""The only file there, whatever its key is called."""

OWN_ENV_PREFIX = "ARGUS_"
"""Environment variables whose name begins so are set by the operator alone."""
ENV_LAUNCH = "ARGUS_LAUNCH"
"""JSON of `launch.Launch`: all that a trainer pod is told."""
ENV_POD_NAME = "ARGUS_POD_NAME"
ENV_NODE_NAME = "ARGUS_NODE_NAME"
