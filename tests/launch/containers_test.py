# The images hold what the program needs: every library it is linked with is of a package that the image installs,
# or of one such a package depends on; and both images are built alike. On the distribution of the images only.
# The Kubernetes manifest that the program prints and the Docker image fit each other.
#   containers_test.py BINARY LAUNCH-FOLDER

import os
import re
import subprocess
import sys

binary, launch = sys.argv[1:]
problems = []


def output_of(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def read(name):
    with open(os.path.join(launch, name), encoding="utf-8") as file:
        return file.read()


def joined_lines(text):
    return text.replace("\\\n", " ").splitlines()


# --- what is needed

def package_of(library):
    real = os.path.realpath(library)
    # The package may know it by its place before /usr and / became one.
    for path in (library, real, "/usr" + real, real.removeprefix("/usr")):
        found = subprocess.run(["dpkg-query", "-S", path], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.split(":")[0]
    problems.append(f"{library} is of no package")
    return None


needed = re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("readelf", "-d", binary))
places = dict(re.findall(r"(\S+) => (\S+)", output_of("ldd", binary)))
packages_needed = {}
for name in needed:
    if name.startswith("ld-linux"):
        continue  # Of the C library.
    packages_needed[name] = package_of(places[name])
if len(packages_needed) < 10:
    problems.append(f"only {len(packages_needed)} libraries found; is {binary} the program?")

# --- what is installed

depends = {}
for line in output_of("dpkg-query", "-W", "-f", "${Package}\\t${Depends}, ${Pre-Depends}\\n").splitlines():
    package, _, text = line.partition("\t")
    depends[package] = set(re.findall(r"(?:^|[,|])\s*([a-z0-9.+-]+)", text))


def with_dependencies(packages):
    found, waiting = set(), list(packages)
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting += depends.get(package, ())
    return found


def installed_by(lines):
    packages = []
    for line in lines:
        for words in re.findall(r"apt-get install ([^&]*)", line):
            packages += [word for word in words.split() if not word.startswith("-")]
    return packages


docker = read("containers/Dockerfile")
build, runtime = re.split(r"^FROM ", docker, flags=re.MULTILINE)[1:]
definition = read("containers/lockstep.def")
tools = re.search(r"packages=\(([^)]*)\)", read("install.sh")).group(1).split()

images = {"Dockerfile": installed_by(joined_lines(runtime)), "lockstep.def": tools}
for image, packages in images.items():
    if not packages:
        problems.append(f"{image}: no packages found")
    have = with_dependencies(packages)
    for library, package in packages_needed.items():
        if package and package not in have:
            problems.append(f"{image}: {library} is of {package}, which it does not install")

# --- both alike

base = runtime.split()[0]
if build.split()[0] != base or not re.search(rf"^From: {re.escape(base)}$", definition, flags=re.MULTILINE):
    problems.append(f"the images do not all begin with {base}")
for command in ("launch/install.sh", "cmake --preset", "cmake --build"):
    lines = [re.search(re.escape(command) + r"[^\n&\\]*", text) for text in (build, definition)]
    if None in lines or lines[0].group().strip() != lines[1].group().strip():
        problems.append(f"'{command}' is not the same in both")
setting = re.search(r"ENV (\S+=\S+)", runtime)
if not setting or f"export {setting.group(1)}" not in definition:
    problems.append("the settings of Open MPI are not the same in both")

# --- the manifest and its image

def setting_of(text, name):
    found = re.search(rf"^\s*{name}\s+(\S+)", text, flags=re.MULTILINE)
    return found.group(1) if found else None


manifest = output_of(binary, "launch", "--print", "kubernetes", "--", "train", "-p", "/runs/p", "-d", "/runs/c.h5", "-m", "tiny",
                     "-o", "/runs/r")
daemon, client = read("containers/sshd_config"), read("containers/ssh_config")
user, uid = re.search(r"^USER (\S+)", runtime, flags=re.MULTILINE).group(1), re.search(r"--uid (\d+)", runtime).group(1)
keys = re.search(r"sshAuthMountPath: (\S+)", manifest).group(1)
worker = manifest.split("    Worker:")[1]
daemon_place = re.search(r'command: \["/usr/sbin/sshd", .*"-f", "(.*)"\]', worker).group(1)
fits = {
    "the operator's keys lie in the home of the image's user": keys == f"/home/{user}/.ssh",
    "workers offer the operator's key": setting_of(daemon, "HostKey") == f"{keys}/id_rsa",
    "workers read the file that the image has": f"COPY launch/containers/sshd_config {daemon_place}" in runtime,
    "the launcher asks at the workers' port": setting_of(client, "Port") == setting_of(daemon, "Port"),
    "no port that root alone can open": int(setting_of(daemon, "Port")) >= 1024,
    "all pods run as the image's user": manifest.count(f"runAsUser: {uid},") == 2,
    "the launcher asks nobody": setting_of(client, "StrictHostKeyChecking") == "no",
}
problems += [f"not so: {what}" for what, holds in fits.items() if not holds]

print("\n".join(problems) or f"{len(packages_needed)} libraries, all there")
sys.exit(1 if problems else 0)
