"""Publishes readings with a stock MQTT client and tells what was acknowledged.

Reads a CSV file `timestamp,value` (UTC, to the second), publishes each line as one message in the
file's order with QoS 1 in a persistent session, with the file's own text of the value, and prints
the reading's number (from 0) for every PUBACK. Ends when all are acknowledged. Connects again for
ever; a broker that is not there is no error. Ends, too, when standard input is closed: who started
it may be killed.
"""

import argparse
import csv
import os
import threading
import time
from datetime import datetime, timezone

import paho.mqtt.client as mqtt

# Sent and not acknowledged. The client counts itself, so the library never queues.
IN_FLIGHT = 200
# How many readings may make up for a pause, so that an outage does not end in one burst.
BURST = 50
CONNECT_PAUSE_SECONDS = 0.1


class Publisher:
    def __init__(self, arguments):
        self.arguments = arguments
        with open(arguments.file, encoding="ascii", newline="") as file:
            self.readings = [
                (timestamp_ms(row["timestamp"]), row["value"]) for row in csv.DictReader(file)
            ]
        # Packet id to number; a resend keeps its packet id.
        self.in_flight = {}
        self.published = 0
        self.acknowledged = 0
        self.connected = False
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=arguments.client_id,
            clean_session=False,
            protocol=mqtt.MQTTv311,
        )
        self.client.max_inflight_messages_set(0)
        self.client.connect_timeout = 2
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = self.on_disconnect
        self.client.on_publish = self.on_publish

    def on_connect(self, _client, _data, flags, reason, _properties):
        self.connected = not reason.is_failure
        told = f"refused: {reason}" if reason.is_failure else f"connected {flags.session_present}"
        print(told, flush=True)

    def on_disconnect(self, _client, _data, _flags, _reason, _properties):
        self.connected = False
        print("disconnected", flush=True)

    def on_publish(self, _client, _data, packet_id, _reason, _properties):
        print(self.in_flight.pop(packet_id), flush=True)
        self.acknowledged += 1

    def run(self):
        """One thread: what is new is never sent between a CONNECT and the resends after it."""
        tokens, last = 0.0, time.monotonic()
        while self.acknowledged < len(self.readings):
            now = time.monotonic()
            tokens = min(BURST, tokens + (now - last) * self.arguments.rate)
            last = now
            while tokens >= 1 and self.may_publish():
                self.publish()
                tokens -= 1
            if self.client.loop(timeout=0.005) != mqtt.MQTT_ERR_SUCCESS:
                self.connected = False
                self.connect()
        self.client.disconnect()
        self.client.loop(timeout=0.1)

    def may_publish(self):
        return (
            self.connected
            and self.published < len(self.readings)
            and len(self.in_flight) < IN_FLIGHT
        )

    def publish(self):
        time_ms, value = self.readings[self.published]
        payload = f'{{"timestamp_ms": {time_ms}, "value": {value}}}'
        info = self.client.publish(self.arguments.topic, payload, qos=1)
        self.in_flight[info.mid] = self.published
        self.published += 1

    def connect(self):
        time.sleep(CONNECT_PAUSE_SECONDS)
        try:
            self.client.connect(self.arguments.host, self.arguments.port, keepalive=10)
        except OSError:
            pass


def timestamp_ms(text):
    moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 1000


def exit_with_parent():
    while os.read(0, 64):
        pass
    os._exit(1)


def main():
    threading.Thread(target=exit_with_parent, daemon=True).start()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=float, required=True, help="readings a second")
    parser.add_argument("file")
    Publisher(parser.parse_args()).run()


if __name__ == "__main__":
    main()
