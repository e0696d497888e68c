<?php

// The class alone, without Laravel and without an autoloader: php plain.php <case>
// prints the case's result, or its exception, as one line of JSON.

require __DIR__.'/../../examples/laravel/SocketPublisher.php';

use App\Realtime\PublishException;
use App\Realtime\SocketPublisher as Publisher;

set_error_handler(fn (int $level, string $text, string $file, int $line) => throw new ErrorException($text, 0, $level, $file, $line));

$cases = [
    'page' => fn () => SocketPublisher::publish('orders.42', 'order.updated', ['id' => 42]),
    'none' => fn () => SocketPublisher::publish('orders.42', 'none'),
    'except' => fn () => SocketPublisher::publish('orders.42', 'e', 'not for all', except: $argv[2]),
    'types' => fn () => array_map(fn ($data) => SocketPublisher::publish('types', 'type', $data), [
        null, true, 0, -1, PHP_INT_MAX, PHP_INT_MIN, 0.1, 1.0, 1e300, '', "Žluťoučký 🐎 日本\n\"\\/\u{2028}",
        [], [1, [2, [3]]], new stdClass(), ['b' => 1, 'a' => ['nested' => [true, null]]],
        new class() implements JsonSerializable {
            public function jsonSerialize(): array
            {
                return ['made' => 'by itself'];
            }
        },
        str_repeat('x', 300_000),
    ]),
    'channel' => fn () => SocketPublisher::publish('no space', 'e'),
    'event' => fn () => SocketPublisher::publish('orders.42', 'connect'),
    'large' => fn () => SocketPublisher::publish('orders.42', 'e', str_repeat('x', 3 << 20)),
    'not utf-8' => fn () => SocketPublisher::publish('orders.42', 'e', "\xff"),
    'twice' => fn () => [SocketPublisher::publish('orders.42', 'e'), SocketPublisher::publish('orders.42', 'e')],
    'batch' => fn () => SocketPublisher::publishMany(array_map(fn (int $i) => ['channel' => 'orders.42', 'event' => 'i', 'data' => $i] + ($i % 2 ? ['history' => false] : []), range(0, 249))),
    'bad batch' => fn () => SocketPublisher::publishMany([['channel' => 'orders.42', 'event' => 'e'], ['channel' => 'no space', 'event' => 'e']]),
    'channels' => fn () => Publisher::fromEnvironment()->sendToChannels(array_merge(array_map(fn (int $i) => "c$i", range(1, 100)), ['orders.42']), 'e', null),
    'no channels' => fn () => [Publisher::fromEnvironment()->sendToChannels([], 'e'), SocketPublisher::publishMany([])],
    'many' => function () {
        for ($i = 0; ! file_exists($GLOBALS['argv'][2]); $i++) {
            SocketPublisher::publish('orders.42', 'i', $i);
        }

        return $i;
    },
    'other app' => fn () => (new Publisher(getenv('REALTIME_SOCKET_URL').'/', $argv[2], $argv[3]))->send('orders.42', 'order.updated', 'of another'),
    'impatient' => fn () => (new Publisher(getenv('REALTIME_SOCKET_URL'), 'app_x', 'pk_live_x', timeout: 1))->send('orders.42', 'e'),
];

try {
    $result = ['result' => $cases[$argv[1]]()];
} catch (PublishException $e) {
    $result = ['code' => $e->errorCode, 'status' => $e->status, 'retryAfter' => $e->retryAfter, 'message' => $e->getMessage(), 'trace' => (string) $e];
}
echo "\n", json_encode($result, JSON_THROW_ON_ERROR), "\n";
