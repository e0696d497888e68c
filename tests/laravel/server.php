<?php

// As much of a Laravel application as broadcasting needs, behind PHP's own web
// server: POST /?case=<case> broadcasts, and answers with the result or the
// exception as JSON. What a framework does at its start is done by hand here;
// the components are the real ones. app.php is a whole application.

use App\Events\OrderUpdated;
use App\Models\Order;
use App\Realtime\PublishException;
use App\Realtime\RealtimeServiceProvider;
use App\Realtime\SocketPublisher;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Broadcasting\BroadcastServiceProvider;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\EncryptedPrivateChannel;
use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Bus\BusServiceProvider;
use Illuminate\Config\Repository;
use Illuminate\Container\Container;
use Illuminate\Contracts\Broadcasting\Factory;
use Illuminate\Contracts\Container\Container as ContainerContract;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Events\EventServiceProvider;
use Illuminate\Http\Request;
use Illuminate\Queue\Connectors\SyncConnector;
use Illuminate\Queue\QueueManager;
use Illuminate\Support\Facades\Facade;
use Psr\Log\AbstractLogger;
use Tests\Said;
use Tests\SaidNow;

foreach (['Broadcasting', 'Bus', 'Config', 'Container', 'Events', 'Http', 'Queue', 'Support'] as $component) {
    require_once "Illuminate/$component/autoload.php";
}
require_once 'Dotenv/autoload.php';
require __DIR__.'/events.php';

// As composer would find them in app/Realtime and app/Events.
$examples = realpath(__DIR__.'/../../examples/laravel');
spl_autoload_register(function (string $class) use ($examples): void {
    if (preg_match('/^App\\\\(Realtime|Events)\\\\(\w+)$/', $class, $match) && is_file("$examples/$match[2].php")) {
        require "$examples/$match[2].php";
    }
});
// Older components say that they are deprecated; the examples must not.
set_error_handler(function (int $level, string $text, string $file, int $line) use ($examples): bool {
    if (str_starts_with($file, $examples) || str_starts_with($file, __DIR__)) {
        throw new ErrorException($text, 0, $level, $file, $line);
    }

    return true;
});

$app = new Container();
Container::setInstance($app);
Facade::setFacadeApplication($app);
$app->instance('config', new Repository([
    'broadcasting' => [
        'default' => env('BROADCAST_CONNECTION'),
        'connections' => [
            'realtime' => ['driver' => 'realtime', 'timeout' => 4],
            'other' => ['driver' => 'realtime'] + require "$examples/connection.php",
            'wrong' => ['driver' => 'realtime', 'publish_key' => 'pk_live_wrong'] + require "$examples/connection.php",
            'unset' => ['driver' => 'realtime'],
        ],
    ],
    'queue' => ['default' => 'sync', 'connections' => ['sync' => ['driver' => 'sync']]],
]));
$app->instance('request', Request::capture());
$app->instance('log', $log = new class() extends AbstractLogger {
    public array $lines = [];

    public function log($level, $message, array $context = []): void
    {
        $this->lines[] = "$level: $message";
    }
});
$app->singleton('queue', function (Container $app): QueueManager {
    $queue = new QueueManager($app);
    $queue->addConnector('sync', fn () => new SyncConnector());

    return $queue;
});
$app->alias('events', Dispatcher::class);
foreach ([Container::class, ContainerContract::class] as $name) {
    $app->instance($name, $app);
}
$providers = array_map(fn (string $class) => new $class($app), [
    EventServiceProvider::class, BusServiceProvider::class, BroadcastServiceProvider::class, RealtimeServiceProvider::class,
]);
foreach ($providers as $provider) {
    $provider->register();
}
end($providers)->boot();

// What the helper of this name does, which is not in a package of its own.
$broadcast = fn (object $event) => $app->make(Factory::class)->event($event);
$manager = $app->make(BroadcastManager::class);

$cases = [
    'order' => fn () => $broadcast(new OrderUpdated(new Order(42))),
    'order, to others' => fn () => $broadcast(new OrderUpdated(new Order(42)))->toOthers(),
    'now' => fn () => $broadcast(new SaidNow([new Channel('said')], 'hello', ['é' => [1, null]])),
    'now, to others' => fn () => $broadcast(new SaidNow([new Channel('said')], 'hello'))->toOthers(),
    'to everyone again' => function () use ($broadcast) {
        $event = new SaidNow([new Channel('said')], 'hello');
        $broadcast($event->dontBroadcastToCurrentUser()->broadcastToEveryone());
    },
    'channels' => fn () => $broadcast(new Said(['said', new Channel('orders.42'), 'said'], 'hello')),
    'channels, counted' => function () use ($app, $manager) {
        $app['config']->set('broadcasting.connections.other.url', $app['request']->header('X-Gateway'));
        $manager->connection('other')->broadcast(array_map(fn (int $i) => "c$i", range(1, 150)), 'e', ['socket' => 'abc', 'id' => 42]);
    },
    'private' => fn () => $broadcast(new SaidNow([new Channel('said'), new PrivateChannel('said')], 'secret')),
    'private, by name' => fn () => $broadcast(new SaidNow(['private-said'], 'secret')),
    'presence' => fn () => $broadcast(new SaidNow([new PresenceChannel('said')], 'secret')),
    'encrypted' => fn () => $broadcast(new SaidNow([new Channel('said'), new EncryptedPrivateChannel('said')], 'secret')),
    'sent again' => function () use ($app, $manager) {
        $app['config']->set('broadcasting.connections.other.url', $app['request']->header('X-Gateway'));
        $manager->connection('other')->broadcast(['said'], 'e');
    },
    'wrong key' => fn () => $manager->connection('wrong')->broadcast(['said'], 'e'),
    'not set' => fn () => $manager->connection('unset')->broadcast(['said'], 'e'),
    'reserved name' => fn () => $manager->connection()->broadcast(['said'], 'disconnect'),
    'publisher' => fn () => [
        'publish' => is_string(SocketPublisher::publish('said', 'static', 1)),
        'short name' => is_string(\SocketPublisher::publish('said', 'static', 2)),
        'settings' => $app['config']['broadcasting.connections.realtime.timeout'] === 4,
        'singleton' => $app->make(SocketPublisher::class) === $app->make(SocketPublisher::class),
    ],
];

header('Content-Type: application/json');
try {
    $result = $cases[$app['request']->query('case')]();
    $result = is_array($result) ? $result : 'done';
    $answer = ['result' => $result, 'log' => $log->lines];
} catch (Throwable $e) {
    $answer = ['exception' => get_class($e), 'message' => $e->getMessage()];
    $answer += $e instanceof PublishException ? ['code' => $e->errorCode] : [];
}
echo json_encode($answer, JSON_THROW_ON_ERROR);
