"""A simulated press with an OPC UA server, on the stock library asyncua.

Variables, all in the namespace urn:updraft:machine, which is number 2, under Objects/Press:

  ns=2;s=temperature   Double    a sine around 60, with one period a minute
  ns=2;s=counter       UInt32    one more at every step, none left out
  ns=2;s=running       Boolean   writable: false holds the counter
  ns=2;s=spectrum      Double[]  64 values
  ns=2;s=period        Double    writable: seconds between two steps
  ns=2;s=late          Int32     missing with --without-late until it is asked for

With --commands it reads these from its standard input, one a line, answers each with one line, and
ends when the input does:

  unacknowledged       sequence numbers of notifications that no client has acknowledged yet
  subscriptions        how many subscriptions there are
  counter              the counter's value
  add late             makes the variable `late`
  forget               ends all subscriptions, without a word to the clients
  status N             sets the status code N on the temperature
"""

import argparse
import asyncio
import datetime
import math
import pathlib
import signal
import sys
import time

from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.server.user_managers import UserManager
from cryptography.x509.oid import ExtendedKeyUsageOID
from asyncua.crypto.permission_rules import User, UserRole

NAMESPACE = "urn:updraft:machine"
POLICIES = {
    "none": [ua.SecurityPolicyType.NoSecurity],
    "sign-and-encrypt": [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt],
}


class OneUser(UserManager):
    def __init__(self, name, password):
        self.name, self.password = name, password

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if (username, password) == (self.name, self.password):
            return User(role=UserRole.User, name=username)
        return None


class Press:
    def __init__(self, server, index, folder):
        self.server, self.index, self.folder = server, index, folder
        self.count = 0

    async def variable(self, name, value, kind, writable=False):
        node = await self.folder.add_variable(ua.NodeId(name, self.index), name, value, kind)
        if writable:
            await node.set_writable()
        return node

    async def make(self, period, late):
        self.temperature = await self.variable("temperature", 60.0, ua.VariantType.Double)
        self.counter = await self.variable("counter", 0, ua.VariantType.UInt32)
        self.running = await self.variable("running", True, ua.VariantType.Boolean, True)
        self.spectrum = await self.variable("spectrum", [0.0] * 64, ua.VariantType.Double)
        self.period = await self.variable("period", period, ua.VariantType.Double, True)
        if late:
            await self.add_late()

    async def add_late(self):
        await self.variable("late", 7, ua.VariantType.Int32)

    async def write(self, node, value, kind, status=0):
        now = datetime.datetime.now(datetime.timezone.utc)
        data = ua.DataValue(
            ua.Variant(value, kind),
            StatusCode=ua.StatusCode(status),
            SourceTimestamp=now,
            ServerTimestamp=now,
        )
        await self.server.write_attribute_value(node.nodeid, data)

    async def step(self):
        if await self.running.read_value():
            self.count = (self.count + 1) % 2**32
            await self.write(self.counter, self.count, ua.VariantType.UInt32)
        angle = 2 * math.pi * time.time() / 60
        await self.write(self.temperature, 60 + 15 * math.sin(angle), ua.VariantType.Double)
        if self.count % 20 == 0:
            values = [math.sin(angle * n) / (n + 1) for n in range(64)]
            await self.write(self.spectrum, values, ua.VariantType.Double)

    async def run(self):
        due = time.monotonic()
        while True:
            await self.step()
            due += max(float(await self.period.read_value()), 0.001)
            await asyncio.sleep(max(due - time.monotonic(), 0))

    async def command(self, line):
        subscriptions = self.server.iserver.subscription_service.subscriptions
        words = line.split()
        if words == ["unacknowledged"]:
            numbers = [n for s in subscriptions.values() for n in s._not_acknowledged_results]
            return " ".join(map(str, numbers))
        if words == ["subscriptions"]:
            return str(len(subscriptions))
        if words == ["counter"]:
            return str(self.count)
        if words == ["forget"]:
            await self.server.iserver.subscription_service.delete_subscriptions(list(subscriptions))
            return "ok"
        if words == ["add", "late"]:
            await self.add_late()
            return "ok"
        if len(words) == 2 and words[0] == "status":
            await self.write(self.temperature, 1.0, ua.VariantType.Double, int(words[1], 0))
            return "ok"
        return "unknown command"


async def commands(press):
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(await press.command(line.decode()), flush=True)


async def signalled():
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


async def make_server(options):
    manager = OneUser(*options.user.split(":", 1)) if options.user else None
    server = Server(user_manager=manager)
    await server.init()
    server.set_endpoint(f"opc.tcp://{options.host}:{options.port}/press")
    server.set_server_name("Simulated press")
    server.set_security_policy(POLICIES[options.security])
    if options.pki:
        key, certificate = options.pki / "key.pem", options.pki / "cert.der"
        await setup_self_signed_certificate(
            key, certificate, "urn:updraft:simulated-press", "press",
            [ExtendedKeyUsageOID.SERVER_AUTH], {"commonName": "Simulated press"},
        )
        await server.set_application_uri("urn:updraft:simulated-press")
        await server.load_certificate(certificate)
        await server.load_private_key(key)
    if options.user:
        server.set_identity_tokens([ua.UserNameIdentityToken])
    return server


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4840)
    parser.add_argument("--period", type=float, default=0.1, help="seconds between two steps")
    parser.add_argument("--security", choices=POLICIES, default="none")
    parser.add_argument("--pki", type=pathlib.Path, help="directory for a certificate")
    parser.add_argument("--user", help="NAME:PASSWORD, and nobody else")
    parser.add_argument("--without-late", action="store_true")
    parser.add_argument("--serve", action="store_true", help="run until a signal (the default)")
    parser.add_argument("--commands", action="store_true", help="obey, until the input ends")
    options = parser.parse_args()

    server = await make_server(options)
    index = await server.register_namespace(NAMESPACE)
    folder = await server.nodes.objects.add_folder(index, "Press")
    press = Press(server, index, folder)
    await press.make(options.period, not options.without_late)
    async with server:
        print("ready", flush=True)
        ended = asyncio.create_task(commands(press) if options.commands else signalled())
        steps = asyncio.create_task(press.run())
        # The steps end only with an error, which is not to be overlooked.
        done, _ = await asyncio.wait([ended, steps], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        steps.cancel()


asyncio.run(main())
