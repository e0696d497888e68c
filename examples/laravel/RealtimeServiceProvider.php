<?php

namespace App\Realtime;

use Illuminate\Container\Container;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\Log;
use Illuminate\Support\ServiceProvider;

/** Makes the publisher, the signer of tokens and the broadcast driver "realtime" known to Laravel. */
class RealtimeServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        // config/broadcasting.php goes first where it has the connection.
        $this->mergeConfigFrom(__DIR__.'/connection.php', 'broadcasting.connections.realtime');

        $this->app->singleton(SocketPublisher::class, fn ($app) => self::publisher($app['config']['broadcasting.connections.realtime']));
        $this->app->singleton(TokenSigner::class, fn ($app) => self::tokens($app['config']['broadcasting.connections.realtime']));
        SocketPublisher::resolveUsing(fn () => Container::getInstance()->make(SocketPublisher::class));
    }

    public function boot(): void
    {
        // By its name, as Laravel 13 makes "self" in here the manager.
        Broadcast::extend('realtime', fn ($app, array $config) => new RealtimeBroadcaster(
            RealtimeServiceProvider::publisher($config),
            RealtimeServiceProvider::tokens($config),
        ));
    }

    /** A publisher with the settings of a connection in config/broadcasting.php. */
    public static function publisher(array $config): SocketPublisher
    {
        return new SocketPublisher(
            (string) ($config['url'] ?? ''),
            (string) ($config['app_id'] ?? ''),
            (string) ($config['publish_key'] ?? ''),
            timeout: (float) ($config['timeout'] ?? 5),
            connectTimeout: (float) ($config['connect_timeout'] ?? 2),
            caFile: ($config['ca_file'] ?? null) ?: null,
            path: $config['publish_path'] ?? '/publish',
            onRepeat: fn (PublishException $e) => Log::notice("realtime: an event is sent again: {$e->getMessage()}"),
        );
    }

    /** A signer of tokens with the settings of a connection. */
    public static function tokens(array $config): TokenSigner
    {
        return new TokenSigner((string) ($config['signing_key'] ?? ''), (int) ($config['token_life'] ?? 300));
    }
}
