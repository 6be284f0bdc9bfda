"""Runs the pods of rendered manifests without a cluster, and updates the log as one would.

run_pods.py MANIFESTS UPDRAFT SECRETS FOLDER, as root and in namespaces of its own (`unshare --mount
--net --pid --fork --kill-child --mount-proc`), so that nothing of it outlives it.

Every pod is a process with what the manifests give it: command, arguments and variables, its user,
a root file system that is read-only but for its volumes, a network with its own address, and the
names that the headless services make. SECRETS is JSON: the values by Secret and key. What a cluster
does beside that is not here: no probes restart anything, no policy holds anything back.

Waits until all pods are ready, then restarts the nodes of the log from the highest number down, each
when all are ready, while a client publishes with QoS 1. Prints one line of JSON: the pods, what was
acknowledged, and what the log holds.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import paho.mqtt.client as mqtt
import yaml

LIMIT = 60
TOPIC = "umh/v1/acme/cologne/hall-2/_raw/count"


def run(*command):
    subprocess.run(command, check=True)


def wait_for(what, condition):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise SystemExit(f"waited {LIMIT} s for: {what}")


class Pod:
    """One replica of a workload."""

    def __init__(self, workload, number, place):
        self.workload = workload
        self.name = f"{workload['metadata']['name']}-{number}"
        self.number = number
        self.address = f"10.77.0.{place}"
        self.spec = workload["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self.process = None

    def host(self):
        return f"{self.name}.{self.workload['spec'].get('serviceName', '')}"

    def environment(self, secrets):
        variables = {"PATH": "/usr/local/bin"}
        for variable in self.container["env"]:
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                secret = source["secretKeyRef"]
                value = secrets[secret["name"]][secret["key"]]
            elif "fieldRef" in source:
                assert source["fieldRef"]["fieldPath"].endswith("['apps.kubernetes.io/pod-index']")
                value = str(self.number)
            else:
                value = variable["value"]
            variables[variable["name"]] = value
        return variables

    def build(self, folder, updraft, hosts, volumes):
        """Lays out the file system and the network."""
        self.folder = folder / self.name
        self.root = self.folder / "root"
        for path in ("usr/local/bin", "lib", "lib64", "etc", "tmp"):
            (self.root / path).mkdir(parents=True)
        (self.root / "etc/hosts").write_text(hosts)
        (self.root / "etc/nsswitch.conf").write_text("hosts: files\n")
        binary = self.root / "usr/local/bin/updraft"
        binary.touch()
        mounts = self.container["volumeMounts"]
        for mount in mounts:
            (self.root / mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", self.root, self.root)
        for library in ("lib", "lib64"):
            if os.path.exists(f"/{library}"):
                run("mount", "--bind", f"/{library}", self.root / library)
        run("mount", "--bind", updraft, binary)
        run("mount", "-o", "remount,bind,ro", self.root)
        for mount in mounts:
            source = self.volume(mount["name"], volumes)
            target = self.root / mount["mountPath"].lstrip("/")
            run("mount", "--bind", source, target)
            if mount.get("readOnly"):
                run("mount", "-o", "remount,bind,ro", target)
        run("ip", "netns", "add", self.name)
        cable = f"v{self.address.rsplit('.', 1)[1]}"
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", cable, "master", "br0", "up")
        inside = ["ip", "-n", self.name]
        run(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            run(*inside, "link", "set", link, "up")

    def volume(self, name, volumes):
        """A folder with the volume's files; who may read them is what the manifests say."""
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True)
        group = self.spec["securityContext"]["fsGroup"]
        os.chown(folder, 0, group)
        folder.chmod(0o775)
        source = next((v for v in self.spec["volumes"] if v["name"] == name), {})
        if "configMap" in source:
            files, mode = volumes[source["configMap"]["name"]], 0o444
        elif "secret" in source:
            files, mode = volumes[source["secret"]["secretName"]], source["secret"]["defaultMode"]
        else:
            return folder
        for file, text in files.items():
            (folder / file).write_text(text)
            os.chown(folder / file, 0, group)
            (folder / file).chmod(mode)
        return folder

    def command(self, *command):
        security = self.spec["securityContext"]
        user = f"--userspec={security['runAsUser']}:{security['runAsGroup']}"
        groups = f"--groups={security['fsGroup']}"
        return ["ip", "netns", "exec", self.name, "chroot", user, groups, self.root, *command]

    def start(self, secrets):
        self.secrets = secrets
        with open(self.folder / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command(*self.container["command"], *self.container["args"]),
                env=self.environment(secrets) | {"PATH": os.environ["PATH"] + ":/usr/local/bin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self):
        """`ip` and `chroot` make way for the service: the process is the service itself."""
        self.process.send_signal(signal.SIGTERM)
        grace = self.spec["terminationGracePeriodSeconds"]
        assert self.process.wait(timeout=grace) == 0, f"{self.name} did not end cleanly"

    def ready(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        probe = self.container["readinessProbe"]["httpGet"]
        (port,) = (p for p in self.container["ports"] if p["name"] == probe["port"])
        url = f"http://{self.address}:{port['containerPort']}{probe['path']}"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


class Publisher(threading.Thread):
    """Publishes numbers, one after the other, until it is told to end."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.acknowledged = 0
        self.ending = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="publisher")
        self.client.connect(address, 1883)
        self.client.loop_start()

    def run(self):
        while not self.ending.is_set():
            message = self.client.publish(TOPIC, str(self.acknowledged), qos=1)
            message.wait_for_publish(LIMIT)
            if not message.is_published():
                return
            self.acknowledged += 1


def pods_of(objects):
    pods = []
    for item in objects:
        if item["kind"] in ("StatefulSet", "Deployment"):
            first = item["spec"].get("ordinals", {}).get("start", 0)
            for number in range(first, first + item["spec"]["replicas"]):
                pods.append(Pod(item, number, 10 + len(pods)))
    return pods


def main():
    manifests, updraft, secrets, folder = sys.argv[1:]
    objects = [item for item in yaml.safe_load_all(pathlib.Path(manifests).read_text()) if item]
    secrets = json.loads(pathlib.Path(secrets).read_text())
    maps = {i["metadata"]["name"]: i["data"] for i in objects if i["kind"] == "ConfigMap"}
    pods = pods_of(objects)
    run("mount", "-t", "tmpfs", "none", "/run")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "addr", "add", "10.77.0.1/24", "dev", "br0")
    run("ip", "link", "set", "br0", "up")
    names = "".join(f"{pod.address} {pod.host()}\n" for pod in pods)
    for pod in pods:
        pod.build(pathlib.Path(folder), updraft, f"127.0.0.1 localhost\n{names}", maps | secrets)
        pod.start(secrets)
    wait_for("all pods to be ready", lambda: all(pod.ready() for pod in pods))

    log = [pod for pod in pods if pod.workload["metadata"]["name"] in ("log", "node")]
    entry = next(p for p in pods if any(q["name"] == "mqtt" for q in p.container["ports"]))
    publisher = Publisher(entry.address)
    publisher.start()
    restarted = log[::-1] if len(log) > 1 else []
    for pod in restarted:
        before = publisher.acknowledged
        wait_for("the client to go on", lambda: publisher.acknowledged > before)
        wait_for("the log to be ready", lambda: all(pod.ready() for pod in log))
        pod.stop()
        pod.start(secrets)
    enough = publisher.acknowledged + 20
    wait_for("the client to go on", lambda: publisher.acknowledged >= enough)
    wait_for("the log to be ready", lambda: all(pod.ready() for pod in log))
    publisher.ending.set()
    publisher.join(LIMIT)

    tail = log[0].command("updraft", "tail", "-c", "/etc/updraft/hub.yaml", "--from", "0", "--stop")
    environment = log[0].environment(secrets) | {"PATH": os.environ["PATH"] + ":/usr/local/bin"}
    lines = subprocess.check_output(tail, env=environment, text=True).splitlines()
    stored = [int(line.rsplit(" ", 1)[1]) for line in lines if TOPIC in line]
    outcome = {"pods": [pod.name for pod in pods], "restarted": [pod.name for pod in restarted]}
    print(json.dumps(outcome | {"acknowledged": publisher.acknowledged, "stored": stored}))


main()
