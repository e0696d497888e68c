"""Listens to channels of a gateway with python-socketio, for python.test.mjs.

Takes the class of the client, the origin, the app's id, its subscribe key, the
transport and the channels, and prints what happens, a JSON array a line.
"""

import asyncio
import json
import sys

import socketio

kind, origin, app_id, key, transport, *channels = sys.argv[1:]
connection = {
    "url": origin,
    "auth": {"appId": app_id, "subscribeKey": key},
    "transports": {"upgrade": ["polling", "websocket"]}.get(transport, [transport]),
}
client = getattr(socketio, kind)(reconnection_delay=0.05, reconnection_delay_max=0.2)


def tell(*what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def answered(answer):
    tell("answer", answer)


@client.event
def connect_error(data):
    tell("connect_error", data)


@client.event
def disconnect(*_reason):  # which newer versions tell
    tell("disconnect")


@client.on("*")
def event(name, *data):
    tell("event", name, *data)


def listen():
    @client.event
    def connect():
        tell("connect", client.transport())
        for channel in channels:
            client.emit("subscribe", channel, callback=answered)

    client.connect(**connection)
    while client.connected:  # wait() also returns if it comes back within a second
        client.wait()


async def listen_async():
    @client.event
    async def connect():
        tell("connect", client.transport())
        for channel in channels:
            await client.emit("subscribe", channel, callback=answered)

    await client.connect(**connection)
    while client.connected:
        await client.wait()


try:
    if kind == "AsyncClient":
        asyncio.run(listen_async())
    else:
        listen()
except socketio.exceptions.ConnectionError:
    pass  # connect_error has told why
tell("end")
