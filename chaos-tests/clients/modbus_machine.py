"""A simulated energy meter with a Modbus TCP server, on the stock library pymodbus.

Addresses are from 0:

  holding 0       UINT16   a counter: one more at every read of it
  holding 1       INT16    -5
  holding 2-3     FLOAT32  230.5, in the order ABCD
  holding 4-5     FLOAT32  230.5, in the order CDAB
  holding 6-9     UINT64   12345678901234
  holding 10-13   STRING   "meter-7"
  holding 14-15   UINT32   seconds since 1970
  input 0-9       UINT16   0 to 9
  coil 0-15       on and off in turn, the first is on
  discrete 0-15   on and off in turn, the first is off

Nothing else exists: reading it is refused as an illegal address. With --commands it reads these from
its standard input, one a line, answers each with one line, and ends when the input does:

  silent          withholds its answers
  speak           gives them, also those that it has withheld
  busy            refuses everything as busy
  connections     how many connections there have been
"""

import argparse
import asyncio
import signal
import sys
import time

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

READ_HOLDING = 3


class Meter:
    def __init__(self):
        self.busy = False
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.connections = 0
        self.count = 0

    def connected(self, up):
        self.connections += up

    async def read(self, function, start, address, count, registers, values):
        """Called at every request; may change what is read."""
        await self.speaks.wait()
        if self.busy:
            return ExcCodes.DEVICE_BUSY
        if function == READ_HOLDING:
            if address == 0:
                self.count = (self.count + 1) % 2**16
                registers[0] = self.count
            now = int(time.time())
            registers[14:16] = [now >> 16 & 0xFFFF, now & 0xFFFF]
        return None

    def command(self, line):
        if line == "connections":
            return str(self.connections)
        if line not in ("silent", "speak", "busy"):
            return "unknown command"
        self.busy = line == "busy"
        if line == "silent":
            self.speaks.clear()
        else:
            self.speaks.set()
        return "ok"

    def device(self):
        swapped = [0x8000, 0x4366]
        turns = [True, False] * 8
        holding = [
            SimData(0, values=0, datatype=DataType.UINT16),
            SimData(1, values=-5, datatype=DataType.INT16),
            SimData(2, values=230.5, datatype=DataType.FLOAT32),
            SimData(4, values=swapped, datatype=DataType.REGISTERS),
            SimData(6, values=12345678901234, datatype=DataType.UINT64),
            SimData(10, values="meter-7\0", datatype=DataType.STRING),
            SimData(14, values=0, datatype=DataType.UINT32),
        ]
        inputs = [SimData(0, values=list(range(10)), datatype=DataType.REGISTERS)]
        coils = [SimData(0, values=turns, datatype=DataType.BITS)]
        discrete = [SimData(0, values=turns[1:] + [True], datatype=DataType.BITS)]
        return SimDevice(1, (coils, discrete, holding, inputs), action=self.read)


async def commands(meter):
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(meter.command(line.decode().strip()), flush=True)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5020)
    parser.add_argument("--serve", action="store_true", help="run until a signal (the default)")
    parser.add_argument("--commands", action="store_true", help="obey, until the input ends")
    options = parser.parse_args()

    meter = Meter()
    server = ModbusTcpServer(
        meter.device(),
        address=(options.host, options.port),
        trace_connect=meter.connected,
    )
    await server.serve_forever(background=True)
    print("ready", flush=True)
    if options.commands:
        await commands(meter)
    else:
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
    await server.shutdown()


asyncio.run(main())
